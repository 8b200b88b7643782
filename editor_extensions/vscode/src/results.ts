// What the server's commands answer, in words and with what can be done next. Pure.

import { type CommandArgument, ratio } from "./protocol";

/** Something that a button does. */
export type Next =
  | { readonly title: string; readonly kind: "openSearch"; readonly search: string }
  | { readonly title: string; readonly kind: "openFile"; readonly path: string };

/** What is shown after a command: a message with buttons, or a page of Markdown. */
export type Shown =
  | { readonly kind: "message"; readonly good: boolean; readonly text: string; readonly next: readonly Next[] }
  | { readonly kind: "page"; readonly title: string; readonly markdown: string; readonly next: readonly Next[] }
  | { readonly kind: "nothing" };

const NOTHING: Shown = { kind: "nothing" };

/** Read a command's answer. An answer of another shape than agreed on is said, not guessed at. */
export function resultOf(command: string, argument: CommandArgument, answer: unknown): Shown {
  const given: Record<string, unknown> = isRecord(answer) ? answer : {};
  const read = READERS[command.replace(/^kernelevolve\./, "")];
  if (read === undefined) return NOTHING;
  return read(given, argument) ?? message(false, `The server's answer to ${command} is not understood: ` +
    `${JSON.stringify(answer)}. Are extension and server of the same version?`);
}

type Reader = (answer: Record<string, unknown>, argument: CommandArgument) => Shown | null;

const READERS: Record<string, Reader> = {
  verify: ({ status, message: text }) =>
    typeof status === "string" && typeof text === "string" ? message(status === "correct", text) : null,
  profile: ({ summary, bottlenecks, report }, { kernel }) => {
    if (typeof summary !== "string") return null;
    const found = Array.isArray(bottlenecks) ? bottlenecks.map(bottleneck) : [];
    const list = found.length === 0 ? "No bottleneck was found." : found.map((line) => `- ${line}`).join("\n");
    const next: Next[] = typeof report === "string" ? [{ title: "Open Report", kind: "openFile", path: report }] : [];
    const title = kernel === undefined ? "Profile" : `Profile of ${kernel}`;
    return { kind: "page", title, markdown: `# ${title}\n\n${summary}\n\n## Bottlenecks\n\n${list}\n`, next };
  },
  optimize: ({ search }) =>
    typeof search === "string"
      ? message(true, `Search ${search} has begun.`, [{ title: "Open Search", kind: "openSearch", search }])
      : null,
  stop: ({ search, state }) =>
    typeof search === "string" && typeof state === "string" ? message(true, `Search ${search}: ${state}.`) : null,
  applyBest: ({ applied, speedup }) => {
    if (typeof applied !== "boolean") return null;
    const gain = typeof speedup === "number" ? ` (${ratio(speedup)})` : "";
    return applied
      ? message(true, `The best kernel found is in the file${gain}. Undo takes it out again.`)
      : message(false, "The edit was not applied: the file may have changed meanwhile. Try again.");
  },
  showKernel: ({ title, text }) =>
    typeof title === "string" && typeof text === "string"
      ? { kind: "page", title, markdown: `# ${title}\n\n${text}\n`, next: [] }
      : null,
};

function message(good: boolean, text: string, next: readonly Next[] = []): Shown {
  return { kind: "message", good, text, next };
}

function bottleneck(entry: unknown): string {
  if (typeof entry === "string") return entry;
  const { summary, advice, share } = isRecord(entry) ? entry : {};
  if (typeof summary !== "string") return JSON.stringify(entry);
  const gain = typeof share === "number" && share > 0 ? ` (up to ${Math.round(share * 100)} % of the time)` : "";
  return `**${summary.replace(/\.$/, "")}**${gain}${typeof advice === "string" ? `. ${advice}` : ""}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
