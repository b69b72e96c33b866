"""Makes ``twistd mailstack`` known. Nothing heavy is imported here: every twistd reads it."""

from twisted.application.service import ServiceMaker

mailstack = ServiceMaker(
    "mailstack",
    "twisted_mailstack.tap",
    "A mail server: SMTP, POP3 and IMAP4",
    "mailstack",
)
