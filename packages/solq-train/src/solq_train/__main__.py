"""`python -m solq_train` is `solq`."""

import sys

from solq_train.cli import main

sys.exit(main())
