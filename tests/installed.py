"""Programs that tests run where they are installed."""

import shutil

#: Command of CP2K, or None.
CP2K = next(filter(shutil.which, ("cp2k.psmp", "cp2k.popt", "cp2k")), None)
