"""`python -m forebay_collector.cli`: the command line where the program is not on the path."""

import sys

from forebay_collector.cli.main import main

sys.exit(main())
