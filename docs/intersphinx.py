"""Links to the documentation of other projects, from inventories in the repository.

A build of the site reads ``inventories/*.inv`` and no network. They are plain text (version 1 of
Sphinx's format): name, kind and page of the objects that the documentation may link to. A link to
any other object fails the build; to add objects, name them here, with network access::

    python docs/intersphinx.py sklearn.decomposition.NMF torch.nn.Module

Without names, the pages of all objects are read again from the projects.
"""

import sys
from pathlib import Path
from urllib.request import Request, urlopen

PROJECTS = {
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
FOLDER = Path(__file__).parent / "inventories"


def mapping(folder=FOLDER):
    """Return the value of Sphinx's ``intersphinx_mapping``."""
    return {name: (url, str(folder / f"{name}.inv")) for name, url in PROJECTS.items()}


def read(path):
    """Return the objects of an inventory as name -> (kind, page)."""
    lines = path.read_text().splitlines()[3:]
    return {name: (kind, page) for name, kind, page in map(str.split, lines)}


def online(url):
    """Return version and Python objects of a project's own inventory."""
    from sphinx.util.inventory import InventoryFile

    # Some servers refuse urllib's name.
    request = Request(f"{url}objects.inv", headers={"User-Agent": "Sphinx"})
    with urlopen(request, timeout=60) as answer:
        inventory = InventoryFile.loads(answer.read(), uri="")
    objects = {}
    for role, items in inventory.data.items():
        domain, kind = role.split(":")
        for name, item in items.items():
            page, _, anchor = item.uri.partition("#")
            if domain == "py" and anchor == name:  # the format has no other anchors
                objects[name] = (kind, page)
                version = item.project_version
    return version, objects


def update(project, url, added, folder=FOLDER):
    """Write the inventory of a project with the present names and those added."""
    path = folder / f"{project}.inv"
    names = sorted({*read(path), *added})
    version, objects = online(url)
    missing = [name for name in names if name not in objects]
    if missing:
        raise SystemExit(f"{url}objects.inv has no {', '.join(missing)}; nothing was written.")
    head = path.read_text().splitlines()[:2]
    lines = [*head, f"# Version: {version}", *(f"{n} {' '.join(objects[n])}" for n in names)]
    path.write_text("\n".join(lines) + "\n")


def main(added):
    """Add names to the inventories, or update all of them."""
    unknown = [name for name in added if name.split(".")[0] not in PROJECTS]
    if unknown:
        raise SystemExit(
            f"No project of {', '.join(unknown)}: the first part of a name is one of "
            f"{', '.join(PROJECTS)}."
        )
    for project, url in PROJECTS.items():
        own = [name for name in added if name.split(".")[0] == project]
        if own or not added:
            update(project, url, own)


if __name__ == "__main__":
    main(sys.argv[1:])
