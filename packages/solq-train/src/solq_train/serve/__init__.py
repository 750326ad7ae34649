"""The page of `solq serve` and what answers it; only `app` needs the extra `serve`."""
