"""The commands of `solq-maskcodec`, one a file; they need the extra `cli`."""
