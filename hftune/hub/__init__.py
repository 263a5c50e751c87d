"""Publishing a finished run on the Hub."""
