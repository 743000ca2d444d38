from .cli import main as main
from .fit import Member as Member, members as members, suggest as suggest
