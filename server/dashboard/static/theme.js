// Loaded before the page is drawn, so that it never flashes in the other colours.
(() => {
  const kept = () => {
    try { return localStorage.getItem("kernelevolve-theme"); } catch { return null; }
  };
  const theme = kept();
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
