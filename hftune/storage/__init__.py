"""What is on the disk, whole or absent: run directories, checkpoints."""
