;; Attacks: `memory_bytes` at instantiation: a second memory whose minimum is 65 536 pages, 4 GiB.
;; Input: ignored.
;; When the host says no: it never runs.
;; Must happen: `memory_limit` naming 4 GiB (and the skeleton's 64 KiB), or a refusal before instantiation;
;;   with more than 4 GiB allowed it returns its input.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "answer" (func $answer (param i32 i32 i32) (result i32)))
    (memory 65536)
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (call $answer (i32.const 0) (local.get $at) (local.get $len))))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
