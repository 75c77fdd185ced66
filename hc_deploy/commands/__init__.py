"""The commands of `hc-deploy`, one a module: they parse and print. Heavy imports happen inside the functions."""
