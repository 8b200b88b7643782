// The interpreter that the Python extension has selected.

import { PVSC_EXTENSION_ID, PythonExtension } from "@vscode/python-extension";
import * as vscode from "vscode";

/** Path of the selected interpreter; null without the Python extension or a selection. */
export async function selectedInterpreter(log: vscode.LogOutputChannel): Promise<string | null> {
  const api = await pythonApi(log);
  if (api === null) return null;
  const [folder] = vscode.workspace.workspaceFolders ?? [];
  const active = api.environments.getActiveEnvironmentPath(folder?.uri);
  const resolved = await api.environments.resolveEnvironment(active);
  return resolved?.executable.uri?.fsPath ?? null;
}

/** Call back when another interpreter is selected. */
export async function onInterpreterChanged(
  log: vscode.LogOutputChannel, changed: () => void,
): Promise<vscode.Disposable | null> {
  const api = await pythonApi(log);
  return api?.environments.onDidChangeActiveEnvironmentPath(changed) ?? null;
}

async function pythonApi(log: vscode.LogOutputChannel): Promise<PythonExtension | null> {
  if (vscode.extensions.getExtension(PVSC_EXTENSION_ID) === undefined) return null;
  try {
    return await PythonExtension.api();
  } catch (error) {
    // It is there but does not work: said, and the PATH is looked at as without it.
    log.warn(`The Python extension gives no interpreter: ${String(error)}`);
    return null;
  }
}
