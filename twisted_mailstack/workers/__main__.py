"""
What the parent of workers runs.
"""

import sys

from twisted_mailstack.workers.worker import main

sys.exit(main())
