// The frame of a search's page, and what may come from it. Pure.

/** Addresses that the page may load. */
export interface Frame {
  /** Random for each page. */
  readonly nonce: string;
  /** Where the webview's own files come from, for the policy. */
  readonly source: string;
  readonly script: string;
  readonly style: string;
}

/** The page: nothing can be loaded but its style and its one script, and nothing can be fetched. */
export function pageHtml({ nonce, source, script, style }: Frame): string {
  const policy = `default-src 'none'; style-src ${source}; script-src 'nonce-${nonce}'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Search</title>
<link rel="stylesheet" href="${style}">
</head>
<body>
<main>
<header><h1 id="title">Search</h1><p id="summary" role="status">Loading the search.</p></header>
<div class="actions">
<button type="button" class="primary" id="apply" hidden>Apply best</button>
<button type="button" id="compare" hidden>Compare</button>
<button type="button" id="openReport" hidden>Open report</button>
<button type="button" class="danger" id="stop" hidden>Stop</button>
</div>
<section class="box tree-box" aria-label="Tree">
<div class="tree-head">
<button type="button" id="best">Best</button><button type="button" id="unfold">Unfold all</button><button type="button" id="fold">Fold all</button>
</div>
<div id="tree" class="tree" role="tree" tabindex="0" aria-label="Candidates"></div>
</section>
<section id="node" class="box inside" hidden aria-label="Candidate"><h2 id="node-title"></h2><dl id="node-facts"></dl></section>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>
`;
}

const ACTIONS = ["ready", "stop", "apply", "compare", "openReport"] as const;

/** What the page asks for. */
export type Action = (typeof ACTIONS)[number];

/** Read a message of the page. Throws on anything else than one of the actions. */
export function actionOf(message: unknown): Action {
  const kind = typeof message === "object" && message !== null ? (message as { kind?: unknown }).kind : undefined;
  const found = ACTIONS.find((action) => action === kind);
  if (found === undefined) throw new Error(`The page of the search asked for ${JSON.stringify(kind)}, which is unknown.`);
  return found;
}
