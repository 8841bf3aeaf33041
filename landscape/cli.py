"""The command line: thin, and quick to print help: nothing heavy is imported before there is work."""

from __future__ import annotations

import inspect
import io
import json
import re
import signal
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape import registry
from landscape._version import __version__
from landscape.errors import InputError, LandscapeError
from landscape.format import printable

if TYPE_CHECKING:
    from landscape.objective import Watch
    from landscape.results import Run

INTERRUPTED = 130
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
# Arguments of analyzers that the common options provide.
COMMON = {"seed", "task", "watch"}
KINDS = {
    "models": "model",
    "datasets": "dataset",
    "losses": "loss",
    "attacks": "attack",
    "analyzers": "analyzer",
    "theory": "theory",
}
VERBS = ("analyzers", "theory")
"""Kinds that are commands, whose options are flags."""
NO_FIGURE = ("eps-bar",)
"""Questions whose answer is not drawn: the figures are known to landscape.plot, too heavy for help."""
# Flags that have another name when they are off.
OFF = {"resume": "fresh"}


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code.

    0 done, 2 bad input, 3 the checkpoint, 4 the data, 5 numerics, 130 interrupted
    """
    # A queue or a container that ends a run sends SIGTERM: what is finished is kept as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout = sys.stdout or io.StringIO()  # None where the caller closed it
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """The exit code of a command; a user's mistake is one line on stderr, never a traceback."""
    try:
        code = landscape.main(arguments, prog_name="landscape", standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return InputError.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return _complain(" ".join(error.format_message().split()) + hint, InputError.exit_code)
    except LandscapeError as error:
        return _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted; what was finished is kept", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone. Python would complain once more at exit.
        sys.stdout = None  # type: ignore[assignment]
        return 1  # as click has it for output that is longer than a buffer
    except OSError as error:
        where = f"{error.filename}" if error.filename else "the output"
        return _complain(f"{where} could not be read or written: {error.strerror}", LandscapeError.exit_code)


def _complain(text: str, code: int) -> int:
    print(f"landscape: {printable(' '.join(text.split()))}", file=sys.stderr)
    return code


class Commands(click.Group):
    """The verbs of this file, and one for each registered analyzer."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*registry.named("analyzer"), *self.commands]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self.commands:
            return self.commands[name]
        analyzers = registry.named("analyzer")
        return _analyzer_command(name, analyzers[name]) if name in analyzers else None


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="landscape")
def landscape() -> None:
    """What does the loss look like around these weights, clean and under attack, and how sure are we?

    \b
    landscape sharpness ckpt.pt --eps 8/255
    landscape sharpness ckpt.pt --model resnet18:width=8 --data cifar10 --eps 0,4/255,8/255 -o run.h5
    landscape plot run.h5 -o figure.pdf
    """


SEED = click.IntRange(0, 2**32 - 1)


class Examples(click.ParamType):
    """A number of examples, or all of them."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all" or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor all.", param, ctx)


MODEL_OPTIONS = [
    click.option(
        "--model",
        metavar="SPEC",
        help="lenet:width=16, package.module:factory, file.py:factory, timm:NAME or torchvision:NAME",
    ),
    click.option(
        "--model-arg", "model_args", multiple=True, metavar="NAME=VALUE", help="for the model's factory"
    ),
    click.option("--key", metavar="PLACE", help="of the weights in the checkpoint, where several fit"),
    click.option(
        "--weights",
        type=click.Choice(["raw", "ema"]),
        default="raw",
        show_default=True,
        help="those of the training, or their average",
    ),
    click.option(
        "--normalize",
        default="none",
        show_default=True,
        metavar="SPEC",
        help="of inputs, in front of the model: cifar10, imagenet, …, MEAN/STD, or ckpt",
    ),
    click.option(
        "--trust-checkpoint", "trust", is_flag=True, help="run the code that the checkpoint names: any code"
    ),
]
SPLIT = click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="which part of the data",
)
DATA_DIR = click.option("--data-dir", metavar="DIR", help="where to look for data sets first")
NORM = click.option(
    "--norm",
    type=click.Choice(["linf", "l2"]),
    default="linf",
    show_default=True,
    help="of the perturbations",
)
DATA_OPTIONS = [
    click.option(
        "--data",
        metavar="SPEC",
        help="a data set's name, FILE.npz (x, y), folder:PATH, or a callable: (x, y), Dataset or loader",
    ),
    DATA_DIR,
    SPLIT,
    click.option(
        "--examples",
        type=Examples(),
        metavar="N|all",
        help="size of a class-balanced subset, or all  [default: all up to 1000]",
    ),
    click.option(
        "--loss",
        default="cross_entropy",
        show_default=True,
        metavar="SPEC",
        help="of single examples: see `list losses`, or package.module:callable, file.py:callable",
    ),
    click.option(
        "--batch-size", type=int, default=128, show_default=True, help="examples at once, for memory only"
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1"),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        default="float32",
        show_default=True,
        help="precision of all computation; sums are always float64",
    ),
    click.option(
        "--seed",
        type=SEED,
        metavar="N",
        default=0,
        show_default=True,
        help="of subset, random starts and probes",
    ),
]
EPS = click.option(
    "--eps", default="0", show_default=True, metavar="LIST", help="budgets in pixels: 8/255 or 0,0.1"
)
EPS_ABOVE_0 = click.option(
    "--eps", metavar="LIST", help="budgets in pixels, above 0: 8/255 or 0.05,0.1  [required]"
)
FIGURE = click.option(
    "--figure", metavar="FIG.pdf", help="draw the results: .pdf, .png or .svg; .html of surfaces, to turn"
)
OUTPUT_OPTIONS = [
    click.option("-o", "--output", metavar="FILE.h5", help="write the results and how they came about"),
    FIGURE,
    click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout, and nothing else there"),
    click.option("--quiet", is_flag=True, help="no progress"),
]


def options(*groups: list[Callable]) -> Callable[[Callable], Callable]:
    """Decorator that adds groups of options in their order."""

    def add(function: Callable) -> Callable:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return add


def _analyzer_command(name: str, function: Callable) -> click.Command:
    """A verb whose flags are the analyzer's keyword arguments and whose help is its docstring."""
    from landscape.budget import NEED_A_BUDGET, budgets

    text = inspect.getdoc(function) or ""
    told = dict(re.findall(r"^(\w+): (.+)$", text, flags=re.MULTILINE))
    own = [
        _option(parameter, told, function.__globals__)
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key not in COMMON
    ]
    attack = click.option(
        "--attack", default="pgd:steps=20", show_default=True, metavar="SPEC", help="inner maximiser"
    )

    _, most = registry.points(function)
    several = {1: "CKPT", 2: "CKPT [CKPT]"}.get(most or 0, "CKPT [CKPT …]")

    @options(
        [click.argument("checkpoint", nargs=1 if most == 1 else -1, required=True, metavar=several)],
        [EPS_ABOVE_0 if name in NEED_A_BUDGET else EPS, NORM],
        own,
        [attack],
        MODEL_OPTIONS,
        DATA_OPTIONS,
        OUTPUT_OPTIONS,
    )
    def command(
        checkpoint: Any,
        as_json: bool,
        quiet: bool,
        eps: str | None,
        norm: Any,
        figure: str | None,
        **given: Any,
    ) -> None:
        if eps is None:
            raise InputError(
                f"{name} looks at perturbations, of which eps = 0 has none; give --eps, such as 8/255"
            )
        wanted = budgets(eps, norm)  # before torch takes its seconds to import
        if figure:
            _check_figure(figure, name, flat=name == "line" or given.get("_1d", False))
            _check_apart(figure, given["output"])
        from landscape import runs
        from landscape.results import Run

        found = Run(name, {})
        if figure:
            runs.check_writable(figure)
        with _reported(found, quiet, as_json, given["output"], figure) as watch:
            runs.measure(name, checkpoint, wanted, norm=norm, watch=watch, told=found, **given)

    prose = re.split(r"\n\s*\n(?=\w+: )", text)[0]
    return click.command(name, help=prose, context_settings=CONTEXT)(command)


@contextmanager
def _reported(
    found: Run, quiet: bool, as_json: bool, output: str | None, figure: str | None
) -> Iterator[Watch | None]:
    """Show the progress of a run; tell and draw what it holds once it has ended, well or not."""
    from landscape.progress import progress

    def report() -> None:
        if found.results:
            from landscape.report import print_run

            print_run(found, as_json, output)

    def draw() -> None:
        if figure and found.results:
            _write_figure([found], figure)
            if not as_json:
                from landscape.report import print_wrote

                print_wrote(found, figure)

    try:
        # What code of the user's own prints goes to stderr: stdout is for the report alone.
        with progress(quiet) as watch, redirect_stdout(sys.stderr):
            yield watch
    except BaseException:
        report()
        with suppress(Exception):  # a figure that fails does not hide why the run ended
            draw()
        raise
    report()
    draw()


def _check_figure(path: str, kind: str, *, flat: bool) -> None:
    """InputError, before any work is done, where a run of this kind cannot be drawn as this file.

    flat: it lies on a line
    """
    from landscape import plot as drawing
    from landscape.plot import interactive

    if kind not in drawing.SURFACES or not interactive.is_view(path):
        drawing.check_format(path)
    elif flat:
        raise InputError(f"{path}: an .html view is of planes, and a line is none; write .pdf, .png or .svg")
    else:
        interactive.check_interactive()


def _check_apart(figure: str, output: str | None) -> None:
    """InputError where a figure would take the place of the results that it is of."""
    if output and Path(figure).resolve() == Path(output).resolve():
        raise InputError(f"{figure} would be both the results and their figure; give two names")


def _write_figure(
    runs: list[Run], path: str, *, style: str | None = None, error: bool = False, cap: float | None = None
) -> None:
    """Draw runs as a page to turn where the path ends in .html, else as a figure."""
    from landscape import plot as drawing
    from landscape.plot import interactive

    if interactive.is_view(path):
        interactive.save_interactive(runs, path, cap=cap)
    else:
        drawing.save(drawing.figure(runs, style=style, error=error, cap=cap), path)


def _option(parameter: inspect.Parameter, told: dict[str, str], names: dict[str, Any]) -> Callable:
    """One flag of an analyzer. No other annotation is evaluated: it may name what only mypy imports."""
    annotation = eval(parameter.annotation, names)
    flag = f"--{parameter.name.strip('_').replace('_', '-')}"
    text = told.get(parameter.name, "")
    if annotation is bool and parameter.default:
        off = OFF.get(parameter.name, f"no{flag[1:]}")
        return click.option(f"{flag}/--{off}", default=True, help=text)
    if annotation is bool:
        return click.option(parameter.name, flag, is_flag=True, help=text)
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else None
    return click.option(
        flag,
        type=click.Choice(choices) if choices else annotation,
        default=parameter.default,
        show_default=parameter.default != "",  # the help says what nothing stands for
        help=text,
    )


class Questions(click.Group):
    """A verb for each question that the theory of linear models can be asked."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(registry.named("theory"))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        questions = registry.named("theory")
        return _question_command(name, questions[name]) if name in questions else None


@landscape.group(cls=Questions, context_settings=CONTEXT)
def theory() -> None:
    """Linear models of a data set, where the paper's theory can be computed: eps_bar, V, T, W*.

    \b
    landscape theory eps-bar --data fashion-mnist
    landscape theory minimum --data fashion-mnist --classes 1,7 --eps 0,0.2,0.4,0.42
    landscape theory sets --data fashion-mini --figure sets.pdf
    """


def _question_command(name: str, function: Callable) -> click.Command:
    """A verb of `theory` whose flags are the question's keyword arguments."""
    text = inspect.getdoc(function) or ""
    told = dict(re.findall(r"^(\w+): (.+)$", text, flags=re.MULTILINE))
    own = [
        _option(parameter, told, function.__globals__)
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key not in COMMON
    ]
    data = [
        click.option(
            "--data", required=True, metavar="SPEC", help="a data set's name, FILE.npz (x, y), or a callable"
        ),
        click.option("--classes", metavar="LIST", help="of the data, these alone: 1,7  [default: all]"),
        DATA_DIR,
        SPLIT,
        click.option(
            "--examples",
            type=Examples(),
            metavar="N|all",
            help="size of a class-balanced subset  [default: up to 1000 for minimum and sets, else all]",
        ),
        click.option(
            "--seed", type=SEED, metavar="N", default=0, show_default=True, help="of subset and starts"
        ),
    ]

    output = [option for option in OUTPUT_OPTIONS if option is not FIGURE or name not in NO_FIGURE]

    @options(own, data, output)
    def command(as_json: bool, quiet: bool, figure: str | None = None, **given: Any) -> None:
        if figure:
            from landscape import plot as drawing

            drawing.check_format(figure)
            _check_apart(figure, given["output"])
        from landscape import laboratory, runs
        from landscape.results import Run

        found = Run(name, {})
        if figure:
            runs.check_writable(figure)
        with _reported(found, quiet, as_json, given["output"], figure) as watch:
            laboratory.ask(name, watch=watch, told=found, **given)

    prose = re.split(r"\n\s*\n(?=\w+: )", text)[0]
    return click.command(name, help=prose, context_settings=CONTEXT)(command)


@landscape.command()
@click.argument("model")
@click.option(
    "--data", required=True, metavar="SPEC", help="a data set's name, FILE.npz (x, y), or a callable: (x, y)"
)
@click.option("--eps", default="0", show_default=True, help="budget of the training, in pixels")
@click.option(
    "--schedule",
    type=click.Choice(["constant", "linear", "cosine"]),
    default="constant",
    show_default=True,
    help="of the budget in each period: from --eps-min to --eps-max, clipped at --eps",
)
@click.option("--eps-min", default="0", show_default=True, metavar="EPS", help="where the schedule begins")
@click.option("--eps-max", metavar="EPS", help="where it would end, not clipped  [default: twice --eps]")
@click.option(
    "--periods", default="", metavar="0:E:…", help="restart the schedules at epochs E; keep CKPT-periodN"
)
@click.option(
    "--per",
    type=click.Choice(["epoch", "batch"]),
    default="epoch",
    show_default=True,
    help="how often schedules move on",
)
@NORM
@click.option(
    "-o", "--output", required=True, metavar="CKPT", help="the checkpoint, written after every epoch"
)
@click.option("--log", metavar="FILE.h5", help="what each mini-batch saw  [default: CKPT, ending in .h5]")
@click.option(
    "--keep", type=int, metavar="N", help="keep every N-th epoch, and the weights at first, as CKPT-epochN"
)
@click.option("--checkpoints", default="", metavar="LIST", help="keep these epochs too, such as 50,75,100")
@click.option("--epochs", type=int, help="[default: those of --periods, or 10]")
@click.option("--steps", type=int, default=10, show_default=True, help="of PGD on every mini-batch")
@click.option(
    "--attack-precision",
    type=click.Choice(["full", "bfloat16", "auto"]),
    default="full",
    show_default=True,
    help="of PGD's passes; auto: bfloat16 where the processor has it; updates are in float32",
)
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--lr", type=float, default=1e-3, show_default=True)
@click.option(
    "--lr-schedule",
    type=click.Choice(["constant", "linear", "cosine", "step"]),
    default="constant",
    show_default=True,
    help="from --lr to 0 in each period, or a tenth at each of --lr-steps",
)
@click.option("--lr-steps", default="", metavar="LIST", help="epochs 100,150 or shares 50%,75% of a period")
@click.option(
    "--warmup", default="0", show_default=True, metavar="EPOCHS", help="in which lr rises, in each period"
)
@click.option("--weight-decay", type=float, default=0.0, show_default=True)
@click.option("--batch-size", type=int, default=128, show_default=True)
@click.option("--examples", type=int, metavar="N", help="train on a class-balanced subset")
@click.option(
    "--monitor",
    type=int,
    metavar="N",
    help="test examples to judge each epoch on, at --eps  [default: 0 under constant eps, else 128 to 1000]",
)
@click.option(
    "--attacked",
    type=int,
    metavar="N",
    help="test examples to attack the trained model on, 0 for none  [default: 1000]",
)
@DATA_DIR
@click.option("--seed", type=SEED, default=0, show_default=True, help="of weights, order and random starts")
@click.option("--resume/--fresh", default=True, help="carry on with what an interrupted training left")
@click.option(
    "--json", "as_json", is_flag=True, help="the checkpoint's metadata as one JSON object on stdout"
)
@click.option("--quiet", is_flag=True, help="no progress")
def train(
    as_json: bool, quiet: bool, eps: str, norm: Any, schedule: Any, checkpoints: str, **given: Any
) -> None:
    """Train a model under a budget; write its checkpoint and log.

    MODEL is one of `landscape list models`, such as lenet:width=4. The checkpoint says how it was made,
    and is enough for every other command. The log holds gradient norm, error, loss and distance from the
    initial weights for the first and the last 2,000 mini-batches, for `landscape show` and `plot`.

    Interrupted, even killed, the same command carries on where it was, with the same bits in the end: until
    then CKPT.state lies beside CKPT. Periodic adversarial scheduling is --schedule cosine --eps-max 0.6
    --periods 0:50:75:100 with --eps 0.4; the models at the ends of the periods are its ensemble.
    """
    from landscape.budget import budgets
    from landscape.schedules import schedule as written

    wanted = budgets(eps, norm)
    if len(wanted) > 1:
        raise InputError(f"--eps {eps} names {len(wanted)} budgets; a training has one")
    plan = written(
        schedule,
        lr=given.pop("lr_schedule"),
        **{name: given.pop(name) for name in ("eps_min", "eps_max", "lr_steps", "warmup", "periods", "per")},
    )
    named = [part.strip() for part in checkpoints.split(",") if part.strip()]
    if not all(map(str.isdecimal, named)):
        raise InputError(f"--checkpoints {checkpoints}: give whole numbers of epochs, such as 50,75,100")
    from landscape import runs
    from landscape.progress import progress
    from landscape.training_files import log_path

    with progress(quiet) as watch, redirect_stdout(sys.stderr):
        metadata = runs.train(
            budget=wanted[0], schedule=plan, checkpoints=list(map(int, named)), watch=watch, **given
        )
    if as_json:
        from landscape.results import plain

        print(json.dumps(plain(metadata)))
    else:
        from landscape.report import print_metadata

        print_metadata(metadata)
        if "note" not in metadata:
            print(f"wrote {given['output']}")
            print(f"wrote {log_path(given['output'], given['log'])}")


@landscape.command()
@click.argument("checkpoint", metavar="CKPT")
@options(MODEL_OPTIONS, DATA_OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout, and nothing else there")
def info(checkpoint: str, as_json: bool, **given: Any) -> None:
    """What a checkpoint holds, how it was read, and if it fits its model.

    With --data also its clean loss and accuracy there.
    """
    from landscape import subjects
    from landscape.report import print_info
    from landscape.results import plain

    with redirect_stdout(sys.stderr):
        found = subjects.info(checkpoint, **given)
    if as_json:
        print(json.dumps(plain(found)))
    else:
        print_info(found)


@landscape.command()
@click.argument("file", metavar="FILE.h5")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout, and nothing else there")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["text", "markdown", "latex"]),
    help="of the tables  [default: text, or as the run was asked for]",
)
def show(file: str, as_json: bool, layout: str | None) -> None:
    """Print the results in a file."""
    from landscape.report import print_run
    from landscape.results import load

    print_run(load(file), as_json, file, layout)


@landscape.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE.h5 …")
@click.option(
    "-o", "--output", required=True, metavar="FIG.pdf", help=".pdf, .png or .svg; .html of surfaces, to turn"
)
@click.option(
    "--style",
    type=click.Choice(["contour", "surface", "heat", "line"]),
    help="of surfaces  [default: contour; line along a line]",
)
@click.option("--error", is_flag=True, help="of surfaces: how sure they are, as further panels or as bands")
@click.option("--cap", type=float, metavar="LOSS", help="of surfaces: losses above it are drawn as one band")
def plot(files: tuple[str, ...], output: str, style: str | None, error: bool, cap: float | None) -> None:
    """Draw the results in files, a panel for each, on one scale."""
    from landscape import plot as drawing
    from landscape.plot import interactive
    from landscape.results import load

    if interactive.is_view(output):
        if style or error:
            raise InputError(f"{output}: an .html view takes no --style and no --error; leave them out")
        interactive.check_interactive()
    else:
        drawing.check_format(output)
    _write_figure([load(file) for file in files], output, style=style, error=error, cap=cap)
    print(f"wrote {output}")


@landscape.command(name="list")
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
def list_(kind: str) -> None:
    """Print the models, datasets, losses, attacks, analyzers or questions of the theory there are.

    They are listed with their options and the defaults of these, as a specification has them: lenet:width=4.
    """
    one = KINDS[kind]
    for name, thing in registry.named(one).items():
        given = registry.options(one, name)
        spec = ",".join(f"{key}={value}" for key, value in given.items())
        told = f":{spec}" if spec and kind not in VERBS else ""
        print(f"{name}{told}")
        print(f"    {(inspect.getdoc(thing) or '').splitlines()[0]}")
