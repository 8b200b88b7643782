-- What the cases share. A case that errors ends Neovim with exit code 1 and says why on stderr.

local M = { said = {} }

vim.notify = function(text, level)
  table.insert(M.said, { text = text, level = level or vim.log.levels.INFO })
end

--- Wait until something holds; what it returns, or an error that names it and all that was said.
function M.wait(what, holds, limit_ms)
  local value
  vim.wait(limit_ms or 120000, function()
    value = holds()
    return value and true or false
  end, 20)
  if not value then
    error('waited in vain for ' .. what .. '; said: ' .. vim.inspect(M.said), 2)
  end
  return value
end

--- Fail unless both are the same.
function M.equal(got, wanted, what)
  if not vim.deep_equal(got, wanted) then
    error(string.format('%s is %s, wanted %s', what, vim.inspect(got), vim.inspect(wanted)), 2)
  end
end

--- Fail unless a text holds another.
function M.holds(text, part, what)
  if not (type(text) == 'string' and text:find(part, 1, true)) then
    error(string.format('%s is %s, which does not hold %q', what, vim.inspect(text), part), 2)
  end
end

--- A message that holds this text, once it was said.
function M.message(part)
  return M.wait('the message ' .. part, function()
    for _, said in ipairs(M.said) do
      if said.text:find(part, 1, true) then
        return said
      end
    end
  end)
end

--- The lines of a buffer as one text.
function M.text(buffer)
  return table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), '\n')
end

--- Load the plug-in as Neovim's package loader does, start the server for a file, wait until it serves it.
function M.open(path, settings)
  vim.cmd.runtime('plugin/kernelevolve.lua')
  vim.lsp.config('kernelevolve', {
    cmd = vim.json.decode(vim.env.TEST_SERVER),
    settings = settings and { kernelevolve = settings } or nil,
  })
  vim.lsp.enable('kernelevolve')
  vim.cmd.filetype('on')
  vim.cmd.edit(path)
  local buffer = vim.api.nvim_get_current_buf()
  local client = M.wait('the server', function()
    return vim.lsp.get_clients({ name = 'kernelevolve', bufnr = buffer })[1]
  end)
  M.wait('initialize', function()
    return client.initialized
  end)
  return buffer, client
end

--- Stop the server and leave with 0 only if it ended by itself.
function M.close(client)
  client:stop()
  M.wait('the end of the server', function()
    return client:is_stopped()
  end)
end

return M
