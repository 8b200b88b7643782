-- The running server: which client serves a buffer, requests to it, hints and lenses in its buffers.

local M = {}

M.NAME = 'kernelevolve'

--- Tell the user something.
---@param text string
---@param level? integer one of vim.log.levels; INFO by default
function M.say(text, level)
  vim.notify('kernelevolve: ' .. text, level or vim.log.levels.INFO)
end

--- The client that serves a buffer, or else any that runs.
---@param buffer? integer the current one by default
---@return vim.lsp.Client|nil
function M.get(buffer)
  local here = vim.lsp.get_clients({ name = M.NAME, bufnr = buffer or vim.api.nvim_get_current_buf() })
  local all = vim.list_extend(here, vim.lsp.get_clients({ name = M.NAME }))
  return vim.iter(all):find(function(client)
    return not client:is_stopped()
  end)
end

--- The same; says what to do where there is none.
---@param buffer? integer
---@return vim.lsp.Client|nil
function M.need(buffer)
  local client = M.get(buffer)
  if not client then
    M.say(
      'the language server does not run. Call vim.lsp.enable("kernelevolve") and open a Python, C++ or CUDA file; '
        .. ':checkhealth kernelevolve says what is missing.',
      vim.log.levels.ERROR
    )
  end
  return client
end

--- Send a request; an error is shown, with what the server says to do.
---@param client vim.lsp.Client
---@param method string
---@param params table
---@param on_result fun(result: any)
---@param on_error? fun() called after the error was shown
function M.request(client, method, params, on_result, on_error)
  local sent = client:request(method, params, function(failure, result)
    if failure then
      M.say(failure.message or vim.inspect(failure), vim.log.levels.ERROR)
      if on_error then
        on_error()
      end
      return
    end
    on_result(result)
  end)
  if not sent then
    M.say('the language server has stopped; reopen the file to start it again.', vim.log.levels.ERROR)
    if on_error then
      on_error()
    end
  end
end

--- Run a command of the server.
---@param client vim.lsp.Client
---@param command string such as `kernelevolve.verify`
---@param argument table its one argument
---@param on_result fun(result: any)
function M.execute(client, command, argument, on_result)
  M.request(client, 'workspace/executeCommand', { command = command, arguments = { argument } }, on_result)
end

--- Names of the kernels in a buffer, top to bottom, as its lenses name them.
---@param client vim.lsp.Client
---@param buffer integer
---@return string[]
function M.kernels(client, buffer)
  if not client.attached_buffers[buffer] then
    return {}
  end
  local answer = client:request_sync(
    'textDocument/codeLens',
    { textDocument = vim.lsp.util.make_text_document_params(buffer) },
    1000,
    buffer
  )
  local names = {}
  for _, lens in ipairs(answer and answer.result or {}) do
    local argument = vim.tbl_get(lens, 'command', 'arguments', 1) or lens.data
    local name = type(argument) == 'table' and argument.kernel
    if type(name) == 'string' and not vim.list_contains(names, name) then
      table.insert(names, name)
    end
  end
  return names
end

--- Ask again for the lenses of the buffers that a client serves.
---@param client_id integer
function M.refresh_lenses(client_id)
  local client = vim.lsp.get_client_by_id(client_id)
  for buffer in pairs(client and client.attached_buffers or {}) do
    vim.lsp.codelens.refresh({ bufnr = buffer })
  end
end

--- Show hints and lenses in a buffer. `vim.g.kernelevolve = { hints = false, lenses = false }` leaves them out.
---@param client vim.lsp.Client
---@param buffer integer
---@param group integer group of the autocommands
function M.attached(client, buffer, group)
  local wanted = vim.g.kernelevolve or {}
  if wanted.hints ~= false and client:supports_method('textDocument/inlayHint') then
    vim.lsp.inlay_hint.enable(true, { bufnr = buffer })
  end
  if wanted.lenses ~= false and client:supports_method('textDocument/codeLens') then
    vim.lsp.codelens.refresh({ bufnr = buffer })
    vim.api.nvim_clear_autocmds({ group = group, buffer = buffer })
    vim.api.nvim_create_autocmd({ 'BufEnter', 'BufWritePost', 'InsertLeave' }, {
      group = group,
      buffer = buffer,
      callback = function()
        if #vim.lsp.get_clients({ name = M.NAME, bufnr = buffer }) > 0 then
          vim.lsp.codelens.refresh({ bufnr = buffer })
        end
      end,
    })
  end
end

return M
