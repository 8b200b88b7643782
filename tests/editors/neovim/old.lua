-- Neovim 0.7 with the lines of docs/editors.md: lenses, hover, pushed diagnostics.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')

local ok, failure = pcall(function()
  vim.cmd('edit triton.py')
  vim.bo.filetype = 'python'
  local lenses = t.wait('resolved lenses', function()
    local found = vim.lsp.codelens.get(0)
    return #found > 0 and found[1].command and found
  end)
  t.equal(lenses[1].command.title, 'Optimize', 'title')
  local problem = t.wait('a pushed diagnostic', function()
    return vim.diagnostic.get(0)[1]
  end)
  t.holds(problem.message, 'scale spills', 'diagnostic')
  vim.api.nvim_win_set_cursor(0, { 6, 5 })
  local answers = vim.lsp.buf_request_sync(0, 'textDocument/hover', vim.lsp.util.make_position_params(), 30000)
  local _, answer = next(answers)
  t.holds(answer.result.contents.value, 'scale', 'hover')
end)
if not ok then
  io.stderr:write(tostring(failure) .. '\n')
  vim.cmd('cquit 1')
end
vim.cmd('qall!')
