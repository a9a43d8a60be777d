"""What ``xe`` says about itself without asking a server."""

USAGE = """\
Usage:
  xe <command>
    [ -s <server> ]            server to manage (default: this host)
    [ -p <port> ]              its port
    [ -u <username> -pw <password> | -pwf <password file> ]
                               user and password, or a file with one a line
    [ --nossl ]                plain TCP instead of TLS
    [ --verify-certificate ]   check the server's certificate
    [ --ca-file <file> ]       check it against the certificates in a file
    [ --debug ]                trace on standard error
    [ --debug-on-fail ]        the same, only when the command fails
    [ --traceparent <value> ]  context for distributed tracing
    [ --output json|yaml|csv|table ]
                               form of the output
    [ --minimal ]              values only, comma separated
    [ <other arguments> ... ]  options of the command

To get help on a specific command:
  xe help <command>

To get a full listing of commands:
  xe help --all

To complete commands with the tab key:
  source <(xe --completion)
"""

VERSION = "ThinCLI protocol: 0.2"
