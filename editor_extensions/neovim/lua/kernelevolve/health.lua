-- `:checkhealth kernelevolve`

local M = {}

local function check_editor()
  if vim.fn.has('nvim-0.11') == 1 then
    vim.health.ok('Neovim ' .. tostring(vim.version()))
  else
    vim.health.error('Neovim ' .. tostring(vim.version()) .. ' is too old', 'Install Neovim 0.11 or newer.')
  end
end

local function check_program(config)
  local cmd = config.cmd
  if type(cmd) ~= 'table' then
    vim.health.info('The server is reached by a function of your own; its program is not checked.')
    return
  end
  local path = vim.fn.exepath(cmd[1])
  if path == '' then
    vim.health.error(
      string.format('%s cannot be run', cmd[1]),
      'Install it with `pip install kernelevolve` and put it on the PATH, or set '
        .. '`vim.lsp.config("kernelevolve", { cmd = { "/path/to/kernelevolve", "lsp", "--stdio" } })`.'
    )
    return
  end
  local arguments = vim.tbl_filter(function(word)
    return word ~= '--stdio'
  end, cmd)
  local done = vim.system(vim.list_extend(arguments, { '--help' }), { text = true, timeout = 20000 }):wait()
  if done.code == 0 then
    vim.health.ok(path .. ' has a language server')
  else
    local said = vim.trim((done.stderr or '') .. (done.stdout or ''))
    vim.health.error(
      string.format('`%s --help` ended with %d: %s', table.concat(cmd, ' '), done.code, said:sub(-400)),
      'Bring kernelevolve up to date: `pip install --upgrade kernelevolve`.'
    )
  end
end

local function check_status(client)
  local answer, failure = client:request_sync('kernelevolve/status', vim.empty_dict(), 10000)
  if not answer or answer.err then
    local why = failure or (answer and answer.err.message) or 'no answer'
    vim.health.error('The server does not say how it is: ' .. why, 'See :LspLog.')
    return
  end
  local status = answer.result
  local lines = require('kernelevolve.commands').status_lines(status)
  for index = 1, 4 do
    vim.health.info(lines[index])
  end
  for index, target in ipairs(status.targets or {}) do
    local report = target.compiles and vim.health.ok or vim.health.warn
    report(lines[4 + index])
  end
end

local function check_clients()
  local clients = vim.lsp.get_clients({ name = 'kernelevolve' })
  if #clients == 0 then
    vim.health.info('No server runs. Open a Python, C++ or CUDA file to start one.')
  end
  for _, client in ipairs(clients) do
    vim.health.ok(
      string.format(
        'Server %d serves %d buffers, positions in %s',
        client.id,
        vim.tbl_count(client.attached_buffers),
        client.offset_encoding
      )
    )
    check_status(client)
  end
end

--- Report what works and what is missing.
function M.check()
  vim.health.start('kernelevolve')
  check_editor()
  local config = vim.lsp.config.kernelevolve
  if not config then
    vim.health.error('lsp/kernelevolve.lua is not on the runtimepath', 'Install this plug-in with your plug-in manager.')
    return
  end
  if vim.lsp.is_enabled('kernelevolve') then
    vim.health.ok('vim.lsp.enable("kernelevolve") was called')
  else
    vim.health.warn('The server is not enabled', 'Put `vim.lsp.enable("kernelevolve")` into init.lua.')
  end
  check_program(config)
  check_clients()
end

return M
