"""What people bring, by kind."""
