-- The real server: compiled hints, lenses, hover, a verdict, a search, its best kernel.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')
local windows = require('kernelevolve.windows')
local buffer, client = t.open('triton.py', { targets = { 'cuda:sm_90' } })

local hint = t.wait('a compiled hint', function()
  for _, one in ipairs(vim.lsp.inlay_hint.get({ bufnr = buffer })) do
    local label = one.inlay_hint.label
    if type(label) == 'string' and label:find('regs', 1, true) then
      return label
    end
  end
end, 120000)
t.holds(hint, 'sm_90', 'hint')
t.holds(hint, 'spills', 'hint')
t.holds(hint, 'occ', 'hint')

t.wait('lenses', function()
  return #vim.lsp.codelens.get(buffer) >= 3
end)
t.equal(vim.fn.getcompletion('KernelEvolve verify ', 'cmdline'), { 'scale' }, 'kernels')

vim.api.nvim_win_set_cursor(0, { 6, 5 })
vim.lsp.buf.hover()
local shown = t.wait('the hover', function()
  for _, window in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(window).relative ~= '' then
      return t.text(vim.api.nvim_win_get_buf(window))
    end
  end
end)
t.holds(shown, 'registers', 'hover')

vim.cmd('KernelEvolve status')
local status = t.wait('the status', function()
  return windows.find('kernelevolve://status')
end)
t.holds(t.text(status), 'cuda:sm_90: compiles', 'status')

vim.cmd('KernelEvolve searches')
local list = t.wait('the list', function()
  return windows.find('kernelevolve://searches')
end)
t.holds(t.text(list), 'No searches yet', 'list')
vim.cmd.wincmd('p')
t.close(client)
