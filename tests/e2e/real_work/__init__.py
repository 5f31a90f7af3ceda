"""What people would do with it: other people's projects, with their own tools and tests."""
