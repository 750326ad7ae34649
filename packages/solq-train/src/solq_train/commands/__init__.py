"""The commands of `solq`: each a frozen dataclass whose fields are its arguments."""
