"""Messages to neutral events and back, and what is legal when. Pure: no sockets, clocks, threads or numpy."""
