-- Figures note on which ground they were measured, so that figures of different grounds are not compared unnoticed.
alter table evaluation add column if not exists ground varchar
