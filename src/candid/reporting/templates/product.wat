;; The one heavy thing that a network does, with four numbers at a time: a matrix product.
;;
;; c (m × n) = a (m × k) · b (k × n), all float32, m a multiple of 4 and n of 8.
;; a and c lie row after row. b lies in panels of 8 columns, each k × 8 row after row, so that it is
;; read in order. Four rows of a and a panel of b make 4 × 8 sums, which stay in registers while k
;; passes: each number that is read is used at least four times.
;;
;; Addresses are in bytes of the memory that the page gives. `try_network.js` says the same in plain
;; JavaScript. Assembled by wasmtime's wat2wasm; a test holds product.wasm to this text.
(module
  (import "page" "memory" (memory 1))
  (func (export "product")
    (param $a i32) (param $b i32) (param $c i32) (param $m i32) (param $k i32) (param $n i32)
    (local $wide i32)    ;; bytes of a row of a
    (local $row i32)     ;; bytes of a row of c
    (local $panel i32)   ;; where the panel of b begins
    (local $end_b i32)   ;; and where it ends
    (local $at_b i32)
    (local $first i32) (local $second i32) (local $third i32) (local $fourth i32)  ;; rows of a
    (local $into i32)    ;; where the sums belong
    (local $column i32)  ;; bytes from the start of a row of c
    (local $rows i32)    ;; that are still to be done
    (local $left v128) (local $right v128) (local $weight v128)
    (local $s0 v128) (local $s1 v128) (local $s2 v128) (local $s3 v128)
    (local $s4 v128) (local $s5 v128) (local $s6 v128) (local $s7 v128)

    (local.set $wide (i32.shl (local.get $k) (i32.const 2)))
    (local.set $row (i32.shl (local.get $n) (i32.const 2)))
    (local.set $panel (local.get $b))
    (loop $panels
      (local.set $end_b (i32.add (local.get $panel) (i32.shl (local.get $k) (i32.const 5))))
      (local.set $first (local.get $a))
      (local.set $into (i32.add (local.get $c) (local.get $column)))
      (local.set $rows (local.get $m))
      (loop $fours
        (local.set $second (i32.add (local.get $first) (local.get $wide)))
        (local.set $third (i32.add (local.get $second) (local.get $wide)))
        (local.set $fourth (i32.add (local.get $third) (local.get $wide)))
        (local.set $s0 (v128.const f32x4 0 0 0 0)) (local.set $s1 (v128.const f32x4 0 0 0 0))
        (local.set $s2 (v128.const f32x4 0 0 0 0)) (local.set $s3 (v128.const f32x4 0 0 0 0))
        (local.set $s4 (v128.const f32x4 0 0 0 0)) (local.set $s5 (v128.const f32x4 0 0 0 0))
        (local.set $s6 (v128.const f32x4 0 0 0 0)) (local.set $s7 (v128.const f32x4 0 0 0 0))
        (local.set $at_b (local.get $panel))
        (loop $sums
          (local.set $left (v128.load (local.get $at_b)))
          (local.set $right (v128.load offset=16 (local.get $at_b)))
          (local.set $weight (v128.load32_splat (local.get $first)))
          (local.set $s0 (f32x4.add (local.get $s0) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $s1 (f32x4.add (local.get $s1) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat (local.get $second)))
          (local.set $s2 (f32x4.add (local.get $s2) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $s3 (f32x4.add (local.get $s3) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat (local.get $third)))
          (local.set $s4 (f32x4.add (local.get $s4) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $s5 (f32x4.add (local.get $s5) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat (local.get $fourth)))
          (local.set $s6 (f32x4.add (local.get $s6) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $s7 (f32x4.add (local.get $s7) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $first (i32.add (local.get $first) (i32.const 4)))
          (local.set $second (i32.add (local.get $second) (i32.const 4)))
          (local.set $third (i32.add (local.get $third) (i32.const 4)))
          (local.set $fourth (i32.add (local.get $fourth) (i32.const 4)))
          (local.set $at_b (i32.add (local.get $at_b) (i32.const 32)))
          (br_if $sums (i32.lt_u (local.get $at_b) (local.get $end_b))))
        (v128.store (local.get $into) (local.get $s0))
        (v128.store offset=16 (local.get $into) (local.get $s1))
        (local.set $into (i32.add (local.get $into) (local.get $row)))
        (v128.store (local.get $into) (local.get $s2))
        (v128.store offset=16 (local.get $into) (local.get $s3))
        (local.set $into (i32.add (local.get $into) (local.get $row)))
        (v128.store (local.get $into) (local.get $s4))
        (v128.store offset=16 (local.get $into) (local.get $s5))
        (local.set $into (i32.add (local.get $into) (local.get $row)))
        (v128.store (local.get $into) (local.get $s6))
        (v128.store offset=16 (local.get $into) (local.get $s7))
        (local.set $into (i32.add (local.get $into) (local.get $row)))
        ;; The fourth row has gone on to its end, which is where the next four begin.
        (local.set $first (local.get $fourth))
        (local.set $rows (i32.sub (local.get $rows) (i32.const 4)))
        (br_if $fours (local.get $rows)))
      (local.set $panel (local.get $end_b))
      (local.set $column (i32.add (local.get $column) (i32.const 32)))
      (br_if $panels (i32.lt_u (local.get $column) (local.get $row))))))
