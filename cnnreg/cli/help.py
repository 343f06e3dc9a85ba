"""How the help of every command looks: no types beside switches, defaults within the text, --help at the end."""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cnnreg.cli.values import reader_of

PANEL = "Help"
WIDTH = 22  # characters of names in their column


class Own:
    """What our commands do otherwise than Typer's: they read their own values, and tidy their help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, --help among them."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if param._runtime_param is None:
                param._runtime_param = reader_of(param)  # None: Typer's own
        return params

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _tidy(self, ctx)
        super().format_help(ctx, formatter)  # type: ignore[misc]


class Command(Own, TyperCommand):
    """A command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments as they are named: in brackets where they may be left out, and else in nothing."""
        pieces = (piece.strip("{}").replace("}...", "") for piece in super().collect_usage_pieces(ctx))
        return [piece.replace("...]...", "...]") for piece in pieces]


class Group(Own, TyperGroup):
    """A command that has commands."""


def _tidy(command: Any, ctx: Any) -> None:
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperOption):
            _tidy_option(parameter)
        elif isinstance(parameter, TyperArgument):
            parameter.display_type_rich = _nothing  # type: ignore[method-assign]  # the name says what it is


def _tidy_option(option: TyperOption) -> None:
    if option.is_flag:
        option.metavar = option.metavar or ""
    if {"--help", "--install-completion", "--show-completion"} & set(option.opts):
        option.rich_help_panel = PANEL
    names = [name for name in option.opts if name.startswith("--")]
    if len(",".join(names)) > WIDTH:  # which would be cut
        option.opts = [name for name in option.opts if name not in names[1:]]
        option.help = f"{option.help} Also {', '.join(names[1:])}."
    default = option.show_default if isinstance(option.show_default, str) else option.default
    if option.show_default and not (default is None or default is False or default == ""):
        option.help = f"{option.help or ''} [dim]\\[default: {default}][/dim]"
    option.show_default = False


def _nothing(ctx: Any) -> str:
    del ctx
    return ""
