"""The process: environment, devices, signals, the other processes, the network, exit codes."""
