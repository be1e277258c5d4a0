"""``robustcmr train``: start a run or resume one. Its flags are fields of the schema."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from robustcmr.cli.complete import names, words
from robustcmr.cli.options import Command, Overwrite, Trust, number_or_text, output, overrides
from robustcmr.config.flags import FLAGS

_OF_PLUGINS: dict[str, tuple[type, str]] = {
    "data.name": (str, "data set, see 'robustcmr list data', or package.module:Class"),
    "data.root": (Path, "folder of the data set's files"),
    "matcher.name": (str, "matcher, see 'robustcmr list matchers', or package.module:Class"),
    "method.name": (str, "method, see 'robustcmr list methods', or package.module:Class"),
}
_COMPLETED = {
    "data.name": names("data"),
    "matcher.name": names("matchers"),
    "method.name": names("methods"),
    "training.device": words(["auto", "cpu", "cuda", "mps"]),
}
_META = "robustcmr.train"


def train(
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            help="A YAML recipe: a path, or the name of a shipped one. Where another data set, matcher or "
            "method is chosen, all options that it has for the old one are left out and listed.",
            autocompletion=names("configs"),
        ),
    ] = None,
    settings: Annotated[list[str] | None, overrides("Set any key, such as optim.lr=1e-4.")] = None,
    target: Annotated[Path | None, output("Run folder; by default a new one in runs.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Resume the run in this folder, or extend it to more --epochs.")
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option("--from", help="Start from the best weights of this run, of the same matcher."),
    ] = None,
    overwrite: Overwrite = False,
    trusted: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print ranks, all diagnoses and the cost.")
    ] = False,
) -> None:
    """Train a matcher and measure its retrieval.

    Without options: OMIT trained by our robust method on the embedded scenes, all pairs right.

    Examples:
      robustcmr train --noise 0.4
      robustcmr train --data f8k --data-root DIR --noise 0.4 --method l2rm -o runs/a
      robustcmr train --resume runs/a
      robustcmr train --resume runs/a --epochs 31
      robustcmr train --from runs/a --noise 0.2 -o runs/b
    """
    from robustcmr.cli.output import report_run, running
    from robustcmr.errors import ConfigError
    from robustcmr.training import processes

    flags: dict[str, Any] = ctx.meta[_META]
    if resume is not None:
        epochs = flags.pop("training.epochs", None)
        if flags or any((config, settings, target, overwrite, warm_start)):
            raise ConfigError(
                "--resume continues a run as it was configured and takes no other options but --epochs, "
                "--json and --trust; leave them out, or start a new run without --resume"
            )
        from robustcmr.jobs.train import resume as resume_run

        with running() as console:
            run = resume_run(resume, console, trusted, epochs)
    else:
        from robustcmr.config.resolve import compose
        from robustcmr.jobs.train import train as train_run

        with running() as console:
            chosen = compose(config, flags, settings or [], trusted)
            run = train_run(chosen, target, overwrite, console, warm_start)
    if processes.is_writer():
        report_run(run, as_json, verbose)


class TrainCommand(Command):
    """The command with a flag for each key of ``FLAGS``; the schema is imported lazily, as it is slow."""

    def get_params(self, ctx: Any) -> Any:
        """The flags, then the command's own options."""
        if not any(param.name in FLAGS for param in self.params):
            self.params = [*_flags(), *self.params]
        return super().get_params(ctx)

    def invoke(self, ctx: Any) -> Any:
        """Hand the flags given, by key, to the command."""
        given = {key: ctx.params.pop(name) for name, key in FLAGS.items()}
        ctx.meta[_META] = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in given.items()
            if value is not None
        }
        return super().invoke(ctx)


def _flags() -> list[Any]:
    """An option for each key: type, help and choices as in the schema; values are validated with the rest."""
    from robustcmr.config.fields import choices, section_class, simple_type
    from robustcmr.config.schema import Settings

    parameters = []
    for name, key in FLAGS.items():
        if key in _OF_PLUGINS:
            (kind, text), listed = _OF_PLUGINS[key], ""
        else:
            section, _, last = key.rpartition(".")
            model = section_class(Settings.model_fields[section].annotation) if section else Settings
            info = (model or Settings).model_fields[last]
            kind, text = simple_type(info.annotation), info.description or ""
            listed = "|".join(choices(info.annotation))
        help_text = f"{text[0].upper()}{text[1:]}."
        if kind is float:
            option = typer.Option(metavar="FLOAT", help=help_text, parser=number_or_text)
        else:
            offered = _COMPLETED.get(key) or (words(listed.split("|")) if listed else None)
            option = typer.Option(metavar=listed or None, help=help_text, autocompletion=offered)
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]  # chosen at run time
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )

    def declared() -> None: ...

    declared.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    declared.__annotations__ = {each.name: each.annotation for each in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(declared)
    return get_command(app).params
