-- `:checkhealth kernelevolve` before and after the server runs, and with a program that is not there.
local t = dofile(vim.env.TEST_FOLDER .. '/driver.lua')

local function report()
  vim.cmd('silent checkhealth kernelevolve')
  local text = t.text(vim.api.nvim_get_current_buf())
  vim.cmd.bwipeout({ bang = true })
  return text
end

local before = report()
t.holds(before, 'The server is not enabled', 'health before')
t.holds(before, 'No server runs', 'health before')

vim.lsp.config('kernelevolve', { cmd = { 'no-such-program', 'lsp' } })
t.holds(report(), 'no-such-program cannot be run', 'health without the program')

vim.lsp.config('kernelevolve', { cmd = { 'false', 'lsp' } })
t.holds(report(), 'ended with 1', 'health with a program that fails')

local _, client = t.open('triton.py')
local after = report()
t.holds(after, 'vim.lsp.enable("kernelevolve") was called', 'health after')
t.holds(after, 'positions in utf-8', 'health after')
for _, part in ipairs(vim.json.decode(vim.env.TEST_HEALTH or '[]')) do
  t.holds(after, part, 'health after')
end
t.close(client)
