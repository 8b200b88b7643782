"""Check the documents: heads, numbers, links. `python -m kernelevolve.knowledge.content_check`."""

import sys

from kernelevolve.knowledge.corpus import check, read_content

if __name__ == "__main__":
    problems = check()
    print("\n".join(problems) or f"{len(read_content()[0])} documents, no problem")
    sys.exit(bool(problems))
