"""The commands `engage scenarios …`: list, validate, import."""

from pathlib import Path
from typing import Annotated

import typer

from engage.errors import ConfigError
from engage.scenario import SHIPPED
from flows.cli.options import AnyLanguage, DomainModules, console

scenarios_app = typer.Typer(no_args_is_help=True, help="Scenarios: list, validate, import from human conversations.")


@scenarios_app.command("list")
def list_scenarios(
    source: Annotated[
        list[str] | None, typer.Argument(help="shipped domain names or files; all shipped by default")
    ] = None,
    domain_module: DomainModules = None,
) -> None:
    """Count scenarios by domain, split and difficulty."""
    from flows.cli.inspecting import show_scenarios

    show_scenarios(console, source or [], domain_module or [])


@scenarios_app.command("validate")
def validate_scenarios(
    file: Annotated[Path, typer.Argument(help="a JSON Lines file")],
    any_language: AnyLanguage = False,
    domain_module: DomainModules = None,
) -> None:
    """Check a scenario file line by line; exit code 2 if a line is invalid."""
    from flows.cli.inspecting import validate_file

    if not validate_file(console, file, any_language, domain_module or []):
        raise typer.Exit(2)


@scenarios_app.command("import")
def import_corpus(
    corpus: Annotated[str, typer.Argument(help="chats (conversations of your own), esconv, p4g or own")],
    path: Annotated[Path, typer.Argument(help="the corpus's file or folder")],
    out: Annotated[Path | None, typer.Option("--out", help="scenario file to write; default: CORPUS.jsonl")] = None,
    any_language: AnyLanguage = False,
    donation_unit: Annotated[
        str | None, typer.Option("--donation-unit", help="unit of the donations in p4g: dollars or cents")
    ] = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help=f"kind of dialogue that the chats are; default: {SHIPPED[0]}")
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="what the chats do not say of their users, such as emotion=anger; for all"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="write the chats without asking")] = False,
    domain_module: DomainModules = None,
) -> None:
    """Turn human conversations into scenarios, and report what was used and what was left out."""
    target = out or Path(f"{corpus}.jsonl")
    if corpus == "chats":
        from flows.cli.chats import import_chats

        if donation_unit is not None:
            raise ConfigError("--donation-unit is for p4g, not for chats")
        return import_chats(console, path, target, domain, condition or [], any_language, yes, domain_module or [])
    if domain or condition or yes:
        raise ConfigError(f"--domain, --condition and --yes are for chats, not for {corpus}")
    from engage.domains import allow_modules
    from flows.cli.inspecting import import_scenarios

    allow_modules(domain_module or [])
    return import_scenarios(console, corpus, path, target, any_language, donation_unit)
