;;; Commands, lenses that are run, the list of searches that follows, apply best.  -*- lexical-binding: t; -*-
(load (concat (getenv "TEST_FOLDER") "/driver.el") nil t)

(open-kernel)
(kernelevolve-verify)
(until-said "correct 1.80x: All cases agree.")
(kernelevolve-profile)
(until "the profile"
       (lambda () (and (get-buffer "*kernelevolve profile*")
                       (with-current-buffer "*kernelevolve profile*"
                         (string-match-p "- uncoalesced access (40 %): Rows apart.\n  Swap" (buffer-string))))))
(kernelevolve-status)
(until "the status"
       (lambda () (and (get-buffer "*kernelevolve status*")
                       (with-current-buffer "*kernelevolve status*"
                         (string-match-p "hip:gfx950: does not compile: no lld" (buffer-string))))))

(until "the lenses" (lambda () (= 3 (length kernelevolve--lenses))))
(goto-char (point-min))
(must "an error without a lens"
      (condition-case failure (progn (kernelevolve-lens) nil)
        (user-error (string-match-p "no lens on this line" (cadr failure)))))
(re-search-forward "def scale")
(setq said nil)
(cl-letf (((symbol-function 'completing-read) (lambda (&rest _) "Verify")))
  (kernelevolve-lens))
(until-said "correct 1.80x")

(kernelevolve-searches)
(kernelevolve-optimize 3)
(until-said "search s1 runs")
(until "the finished search, without asking"
       (lambda () (with-current-buffer "*kernelevolve searches*"
                    (string-match-p "s1 +finished +3/3 +1.80x" (buffer-string)))))
(with-current-buffer "*kernelevolve searches*"
  (goto-char (point-min))
  (kernelevolve-search-tree)
  (until "the tree"
         (lambda () (and (get-buffer "*kernelevolve search*")
                         (with-current-buffer "*kernelevolve search*"
                           (string-match-p "  #2  correct  1.80x  from #1  wider tiles" (buffer-string))))))
  (kernelevolve-search-stop)
  (until-said "search s1: stopping")
  (kernelevolve-search-apply-best)
  (until-said "the best kernel found is in place: 1.80x"))
(with-current-buffer "triton.py"
  (must "the new text" (equal "# receipt r2\npass\n" (buffer-string))))
(close-server)
(must "an error without a server"
      (condition-case failure (progn (kernelevolve-verify) nil)
        (user-error (string-match-p "serves no file here" (cadr failure)))))
