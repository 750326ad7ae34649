"""Image frame ↔ box frame, and run lengths."""
