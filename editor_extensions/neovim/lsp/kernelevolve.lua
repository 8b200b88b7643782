-- What Neovim 0.11+ starts after `vim.lsp.enable("kernelevolve")`.
-- Settings: `vim.lsp.config("kernelevolve", { settings = { kernelevolve = { targets = { "cuda:sm_90" } } } })`.

local function changed(_, params)
  require('kernelevolve.searches').changed(params or {})
end

-- Neovim 0.11 has no handler for this one, so it does not declare it either.
local function refresh_lenses(_, _, context)
  require('kernelevolve.client').refresh_lenses(context.client_id)
  return vim.NIL
end

local function on_own_command(command, context)
  require('kernelevolve.commands').from_lens(command, context)
end

return {
  cmd = { 'kernelevolve', 'lsp', '--stdio' },
  filetypes = { 'python', 'cpp', 'cuda', 'hip' },
  root_markers = { 'pyproject.toml', 'setup.py', '.git' },
  settings = { kernelevolve = vim.empty_dict() },
  before_init = function(params, config)
    params.initializationOptions = vim.tbl_get(config, 'settings', 'kernelevolve') or vim.empty_dict()
  end,
  capabilities = {
    experimental = { kernelevolve = { searches = true } },
    -- Neovim takes edits of several documents and new files, and declares the new files alone.
    workspace = { codeLens = { refreshSupport = true }, workspaceEdit = { documentChanges = true } },
  },
  handlers = {
    ['kernelevolve/searchesChanged'] = changed,
    ['workspace/codeLens/refresh'] = refresh_lenses,
  },
  -- Lenses and code actions run these here, so that what the server answers is shown.
  commands = {
    ['kernelevolve.verify'] = on_own_command,
    ['kernelevolve.profile'] = on_own_command,
    ['kernelevolve.optimize'] = on_own_command,
    ['kernelevolve.stop'] = on_own_command,
    ['kernelevolve.applyBest'] = on_own_command,
    ['kernelevolve.addCase'] = on_own_command,
    ['kernelevolve.makeTask'] = on_own_command,
    ['kernelevolve.showKernel'] = on_own_command,
  },
}
