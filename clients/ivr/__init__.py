"""Phone calls to and from the service; one file per transport."""
