;;; The real server: what a kernel costs, a hover, a verdict.  -*- lexical-binding: t; -*-
(load (concat (getenv "TEST_FOLDER") "/driver.el") nil t)

(let ((server (open-kernel)))
  (until "the costs above the kernel"
         (lambda ()
           (cl-some (lambda (overlay)
                      (and (overlay-get overlay 'kernelevolve)
                           (string-match-p "sm_90.*regs" (overlay-get overlay 'before-string))))
                    (overlays-in (point-min) (point-max))))
         240)
  (goto-char (point-min))
  (re-search-forward "tl\\.load")
  (backward-char)
  (let ((hover (until "a hover" (lambda () (jsonrpc-request server :textDocument/hover
                                                            (eglot--TextDocumentPositionParams))))))
    (must "the hover" (string-match-p "load" (plist-get (plist-get hover :contents) :value))))
  (kernelevolve-verify)
  (until "a verdict"
         (lambda () (cl-find-if (lambda (text) (string-match-p "\\bcorrect\\b" text)) said)) 240))
(close-server)
