"""``python -m surrogates`` is the command ``surrogates``."""

from .cli import main

raise SystemExit(main())
