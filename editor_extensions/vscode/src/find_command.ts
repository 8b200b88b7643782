// Where `kernelevolve` is: the setting, the selected interpreter, the PATH. Pure, so that it can be tested.

import * as nodePath from "node:path";

/** What is known of the machine and of the settings. */
export interface Places {
  /** Setting `kernelevolve.command`; null if unset. */
  readonly configured: string | null;
  /** The selected Python interpreter; null without one. */
  readonly interpreter: string | null;
  /** The variable PATH. */
  readonly searchPath: string;
  /** Folders of the workspace. */
  readonly folders: readonly string[];
  readonly home: string;
  readonly windows: boolean;
  /** Whether code of the workspace may be run. */
  readonly trusted: boolean;
  /** Whether a file is there and can be executed. */
  readonly isExecutable: (path: string) => boolean;
}

export type Source = "setting" | "interpreter" | "PATH";

export interface Found {
  readonly command: string;
  readonly source: Source;
}

/** The command is nowhere; the message says where it was looked for and what to do. */
export class CommandNotFound extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CommandNotFound";
  }
}

/**
 * Find the executable.
 *
 * A setting that names nothing is an error, not a reason to take another one. In a workspace that is not trusted,
 * nothing that lies in it is taken: neither its interpreter nor a folder of it on the PATH.
 */
export function findCommand(places: Places): Found {
  if (places.configured !== null && places.configured.trim() !== "") return fromSetting(places);
  const path = pathModule(places);
  const name = places.windows ? "kernelevolve.exe" : "kernelevolve";
  const looked: string[] = [];
  if (places.interpreter === null) looked.push("the Python extension (it has selected no interpreter)");
  else if (!places.trusted) looked.push("not the selected interpreter, since this workspace is not trusted");
  else {
    const folder = path.dirname(places.interpreter);
    // Conda on Windows keeps python.exe above the folder of its scripts.
    const beside = [path.join(folder, name), ...(places.windows ? [path.join(folder, "Scripts", name)] : [])];
    const found = beside.find(places.isExecutable);
    if (found !== undefined) return { command: found, source: "interpreter" };
    looked.push(`beside the selected interpreter (${folder})`);
  }
  for (const folder of places.searchPath.split(path.delimiter)) {
    // A relative entry means the workspace, whatever it says.
    if (!path.isAbsolute(folder) || (!places.trusted && inside(folder, places))) continue;
    const command = path.join(folder, name);
    if (places.isExecutable(command)) return { command, source: "PATH" };
  }
  looked.push("the PATH");
  throw new CommandNotFound(
    `\`kernelevolve\` was not found. Looked at: ${looked.join("; ")}. ` +
      "Install it with `pip install kernelevolve`, or set `kernelevolve.command` to its path.",
  );
}

function fromSetting(places: Places): Found {
  const path = pathModule(places);
  const written = (places.configured ?? "").trim();
  let command = written.startsWith("~/") || written === "~" ? path.join(places.home, written.slice(1)) : written;
  if (command.includes("${workspaceFolder}")) {
    const [folder] = places.folders;
    if (folder === undefined) {
      throw new CommandNotFound(
        `\`kernelevolve.command\` is "${written}", but no folder is open. Open one, or set it to a full path.`,
      );
    }
    command = command.replaceAll("${workspaceFolder}", folder);
  }
  if (!path.isAbsolute(command)) {
    throw new CommandNotFound(
      `\`kernelevolve.command\` is "${written}", which is no full path. ` +
        "Set it to one, or leave it out to use the selected interpreter or the PATH.",
    );
  }
  if (!places.isExecutable(command)) {
    throw new CommandNotFound(
      `\`kernelevolve.command\` is "${written}", but there is no executable` +
        `${command === written ? "" : ` at ${command}`}. ` +
        "Mend the setting, or leave it out to use the selected interpreter or the PATH.",
    );
  }
  return { command, source: "setting" };
}

function inside(folder: string, places: Places): boolean {
  const path = pathModule(places);
  return places.folders.some((root) => {
    const way = path.relative(root, folder);
    return way === "" || (!way.startsWith("..") && !path.isAbsolute(way));
  });
}

function pathModule(places: Places): nodePath.PlatformPath {
  return places.windows ? nodePath.win32 : nodePath.posix;
}
