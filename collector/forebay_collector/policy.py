"""What each kind of trouble means to whoever runs the collector: the exit code and a sentence to act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_collector import errors


@dataclass(frozen=True, slots=True)
class Policy:
    exit_code: int  # of a command that ends with it: 1 not so, 3 configuration, 4 unreachable, 5 refused
    remedy: str


POLICIES: Final[dict[type[errors.CollectorError], Policy]] = {
    errors.CollectorError: Policy(1, "Report this with the collector's log."),
    errors.ConfigurationError: Policy(3, "Correct the key named in collector.toml."),
    errors.DataFolderUnusable: Policy(
        3, "Run `forebay-collector init`, and give the collector's user write access to the folder."
    ),
    errors.DataFolderInUse: Policy(5, "Stop the other collector, or give this one a data folder of its own."),
    errors.AddressUnusable: Policy(3, "Choose a free address with `listen` in collector.toml, or stop what uses it."),
    errors.LedgerUnavailable: Policy(4, "Check the disk that holds the ledger: free space, mount, errors in its log."),
    errors.LedgerDamaged: Policy(
        1, "Stop the collector, keep the file, and restore the ledger from a copy before it is started again."
    ),
    errors.LedgerRowDamaged: Policy(
        1,
        "Run `forebay-collector custody verify STREAM`; restore the ledger from its last backup (guide `recover`): what is "
        "newer is rebuilt from the archive. Then `replay` the batch.",
    ),
    errors.LedgerVersion: Policy(3, "Run the version of the collector that made the ledger, or a newer one."),
    errors.MarkMoved: Policy(5, "Let no two collectors receive into one ledger file; the agent sends again by itself."),
    errors.ArchiveFull: Policy(4, "Free space on the archive's disk, or shorten `retention` in collector.toml."),
    errors.ArchiveUnavailable: Policy(4, "Check the disk that holds the archive: mount, permissions, errors."),
    errors.ArchiveDamaged: Policy(1, "Restore the file named from a copy of the archive, then `replay` the batch."),
    errors.ArchiveMissing: Policy(1, "Restore the file named from a copy of the archive, then `replay` the batch."),
    errors.NotKnown: Policy(1, "List what there is with `forebay-collector agents`, `streams` or `batches`."),
    errors.NotPossible: Policy(5, "Look at the present state with `forebay-collector streams` or `batches`."),
    errors.FerryRefused: Policy(
        5,
        "Nothing was taken from it. Carry it again from the appliance, or make it anew there: `forebay-agent outbox export`.",
    ),
    errors.NotPermitted: Policy(5, "Ask an administrator for the role, or someone who has it to do it."),
    errors.LoginRefused: Policy(5, "Try again, or ask an administrator for a new password."),
    errors.LoginLocked: Policy(5, "Wait, then try again; an administrator can give a one-time link."),
    errors.PasswordRefused: Policy(
        5, "Choose a longer one, such as four words that have nothing to do with each other."
    ),
    errors.OidcRefused: Policy(
        5, "Log in again; if it stays so, compare `[console.oidc]` with the provider's settings."
    ),
    errors.OidcUnreachable: Policy(4, "Check the provider's address in `[console.oidc]` and the way to it."),
    errors.FormRefused: Policy(5, "Load the page again, and send the form from there."),
    errors.ApiTokenRefused: Policy(
        5, "Make a new one: `forebay-collector users token`, or on the console's account page."
    ),
    errors.RequestRefused: Policy(5, "Compare the request with the API's description, `/api/v1/openapi.json`."),
    errors.MethodRefused: Policy(5, "Use one of the methods that `Allow` names."),
    errors.MediaRefused: Policy(5, "Send the body as JSON, with `Content-Type: application/json`."),
    errors.RequestTooLong: Policy(5, "Ask for less at once."),
    errors.TooFast: Policy(5, "Wait for as long as `Retry-After` says, then ask again, and ask less often."),
    errors.TokenRefused: Policy(5, "Make a new token with `forebay-collector token` and enrol with it."),
    errors.IdentityRefused: Policy(5, "Enrol the agent again with a new token."),
    errors.AgentUnreachable: Policy(
        4, "Check on the appliance that the agent runs (`forebay-agent status`) and that `serve` runs here."
    ),
    errors.CommandFailed: Policy(1, "Read the agent's reason above; `forebay-agent status` shows its side."),
    errors.LoadStalled: Policy(1, "See `forebay-collector streams`: a held stream shows its reason and its remedy."),
    errors.VerificationInterrupted: Policy(1, "Verify again."),
    errors.CertificateNotValid: Policy(
        1,
        "Take it for altered or foreign; ask who issued it for the file again, and for the key that it is checked with.",
    ),
    errors.BackupUnusable: Policy(1, "Use another backup; `forebay-collector backup DIR` makes one."),
    errors.NotSent: Policy(4, "Check the channel's section in `[alerts]`, its files, and the way to its server."),
    errors.ThreadDied: Policy(1, "Read the reason above; the service manager starts the collector again."),
}


def policy_of(error: errors.CollectorError) -> Policy:
    """The policy of the error's kind, or of the nearest kind that it is derived from."""
    return next(POLICIES[kind] for kind in type(error).__mro__ if kind in POLICIES)


def remedy_of(error: errors.CollectorError) -> str:
    return error.remedy or policy_of(error).remedy
