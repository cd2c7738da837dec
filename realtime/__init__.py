"""Self-hosted streaming speech for live conversation. Start with `realtime.app.build_app` or the `realtime` command."""
