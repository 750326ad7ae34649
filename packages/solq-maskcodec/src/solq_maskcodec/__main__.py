"""`python -m solq_maskcodec` is `solq-maskcodec`."""

import sys

from .cli import main

sys.exit(main())
