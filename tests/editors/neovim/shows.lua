-- Hints, lenses with resolve, hover and diagnostics appear in a buffer by themselves.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')
local buffer, client = t.open('triton.py')

local lenses = t.wait('three resolved lenses', function()
  local found = vim.lsp.codelens.get(buffer)
  local resolved = vim.tbl_filter(function(lens)
    return lens.command ~= nil
  end, found)
  return #resolved == 3 and resolved
end)
t.equal(
  vim.tbl_map(function(lens)
    return lens.command.title
  end, lenses),
  { 'Optimize', 'Verify', 'Profile' },
  'titles'
)

t.equal(vim.lsp.inlay_hint.is_enabled({ bufnr = buffer }), true, 'inlay hints')
local hint = t.wait('a hint', function()
  return vim.lsp.inlay_hint.get({ bufnr = buffer })[1]
end)
t.holds(hint.inlay_hint.label, '64 regs', 'hint')

local problem = t.wait('a diagnostic', function()
  return vim.diagnostic.get(buffer)[1]
end)
t.holds(problem.message, 'scale spills', 'diagnostic')
t.equal(problem.lnum, 5, 'line of the diagnostic')

vim.api.nvim_win_set_cursor(0, { 6, 5 })
vim.lsp.buf.hover()
local shown = t.wait('the hover', function()
  for _, window in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(window).relative ~= '' then
      return t.text(vim.api.nvim_win_get_buf(window))
    end
  end
end)
t.holds(shown, 'scale', 'hover')

t.equal(client.offset_encoding, 'utf-8', 'positions')
t.close(client)
