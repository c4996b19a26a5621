"""Which files make up a deployment's code, and the digest that they are known by.

`select` says which files, `identify` what they are; neither writes anything nor runs anything of the project.
Packing is in `flyte_deploy.bundle.archive`, which is only needed where a bundle is not in its store yet.
"""

from flyte_deploy.bundle.files import CopyStyle, Include, ModuleFile, SelectedFile, Selection, select
from flyte_deploy.bundle.identity import identify

__all__ = ["CopyStyle", "Include", "ModuleFile", "SelectedFile", "Selection", "identify", "select"]
