"""What every room needs of the machine: files and their names, limits, processes and signals, the GPU. No numpy."""
