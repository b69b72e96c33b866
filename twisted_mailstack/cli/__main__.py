"""``python -m twisted_mailstack.cli``"""

from twisted_mailstack.cli.main import main

main()
