;; Attacks: `fuel` and `wall_ms`, by loads and stores.
;; Input: ignored.
;; When the host says no: it never learns; the host stops it.
;; Must happen: `fuel_exhausted` or `deadline_exceeded`; it has no twin, it never returns.
(component
  ;; include skeleton
  (core module $attack
    (import "skeleton" "memory" (memory 1))
    (func $run (export "run") (param $at i32) (param $len i32) (result i32)
      (loop $again
        (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
        (br $again))
      unreachable))
  (core instance $attack (instantiate $attack (with "skeleton" (instance $skeleton))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $attack "run") (memory $skeleton "memory") (realloc (func $skeleton "realloc"))))
)
